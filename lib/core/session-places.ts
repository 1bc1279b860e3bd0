import { digestOf, type SessionIdentity } from './session-identity.js';

/**
 * The name of one entry of an index, such as "all sessions of alice": in it stand the handles of
 * the sessions that belong there. A place exists in each bucket by itself, so that a session and all its
 * places are written in one step. Names tell no values, only digests.
 */
export type Place = string;

/** Indexes that are always kept. */
export const PRINCIPAL = 'p';
const CLIENT_KIND = 'k';
const IDP_SESSION = 'd';
const ACTOR = 'a';
/** Sessions of a principal that were left to act as another one; what stands there are pointers. */
export const ACTING = 'o';

const placeOf = (index: string, value: string): Place => `${index}:${digestOf(value)}`;

export const principalPlace = (principal: string): Place => placeOf(PRINCIPAL, principal);
export const clientKindPlace = (principal: string, kind: string): Place =>
  placeOf(CLIENT_KIND, JSON.stringify([principal, kind]));
export const idpSessionPlace = (idpSession: string): Place => placeOf(IDP_SESSION, idpSession);
export const actorPlace = (actor: string): Place => placeOf(ACTOR, actor);
export const actingPlace = (actor: string): Place => placeOf(ACTING, actor);
/** The place of a value in an index that the application declared. */
export const declaredPlace = (index: string, value: string): Place => placeOf(`i.${index}`, value);

/** The places that follow from whose session it is. */
export function placesOfIdentity(identity: SessionIdentity | undefined): Place[] {
  if (!identity) return [];
  const { principal, clientKind, idpSession, actor } = identity;
  const places = [principalPlace(principal)];
  if (clientKind !== undefined) places.push(clientKindPlace(principal, clientKind));
  if (idpSession !== undefined) places.push(idpSessionPlace(idpSession));
  if (actor) places.push(actorPlace(actor.principal));
  return places;
}
