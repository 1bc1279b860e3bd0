import type { ArgumentsHost } from '@nestjs/common';

/** Under which name a reference travels. */
const NAME = 'session';

/** What the transports of Nest hand over beside a message; each has some of it. */
interface MessageContext {
  /** TCP, Redis. */
  getMetadata?(): unknown;
  /** NATS. */
  getHeaders?(): unknown;
  /** Kafka, RabbitMQ. */
  getMessage?(): {
    readonly headers?: unknown;
    readonly properties?: { readonly headers?: unknown };
  };
  /** MQTT. */
  getPacket?(): { readonly properties?: { readonly userProperties?: unknown } };
  /** The metadata of gRPC itself. */
  getMap?(): unknown;
}

/**
 * The reference to a session that came with a message: from its metadata or headers, or, where the
 * transport has none, from the field `session` of the payload. Not verified; to be passed on.
 */
export function sessionReferenceOf(host: ArgumentsHost): string | undefined {
  const [payload, context] = host.getArgs<[unknown, MessageContext | undefined]>();
  const message = context?.getMessage?.();
  const places = [
    context?.getMetadata?.(),
    context?.getHeaders?.(),
    message?.headers,
    message?.properties?.headers,
    context?.getPacket?.()?.properties?.userProperties,
    context?.getMap?.(),
    payload,
  ];
  for (const place of places) {
    const text = textOf(valueIn(place));
    if (text !== undefined) return text;
  }
  return undefined;
}

/** Headers of NATS are asked for a value, all others have it. */
function valueIn(place: unknown): unknown {
  if (typeof place !== 'object' || place === null) return undefined;
  if (Object.hasOwn(place, NAME)) return (place as Record<string, unknown>)[NAME];
  const { get } = place as { get?: unknown };
  return typeof get === 'function'
    ? (get as (name: string) => unknown).call(place, NAME)
    : undefined;
}

/** Kafka and gRPC have bytes; what is repeated is nobody's. */
function textOf(value: unknown): string | undefined {
  const single: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value;
  const text = Buffer.isBuffer(single) ? single.toString() : single;
  return typeof text === 'string' && text !== '' ? text : undefined;
}
