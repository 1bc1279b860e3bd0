import { SessionOptionsError } from '../core/session.errors.js';
import {
  mapPassport,
  unmapPassport,
  type Attributes,
  type LegacyRecord,
  type MappedSession,
  type SessionToUnmap,
} from './legacy-record.js';

/** How sessions are translated, both ways. */
export class LegacyMapping {
  /** @param both sessions of ours are written for the other library as well */
  constructor(
    private readonly given: {
      readonly map?: ((legacy: Attributes) => MappedSession) | undefined;
      readonly unmap?: ((session: SessionToUnmap) => Attributes) | undefined;
    },
    both: boolean,
  ) {
    if (both && given.map && !given.unmap) {
      throw new SessionOptionsError([
        'migrateFrom: map is given without unmap, so who logs in here would be nobody there: give both, or neither for passport',
      ]);
    }
  }

  map({ data }: Pick<LegacyRecord, 'data'>): MappedSession {
    const { map = mapPassport } = this.given;
    // A copy: what the function does to it must not change the record.
    return { data, ...map(Object.assign(Object.create(null) as Attributes, data)) };
  }

  mapData(data: Attributes): Attributes {
    return this.map({ data }).data ?? data;
  }

  unmap(session: SessionToUnmap): Attributes {
    return (this.given.unmap ?? unmapPassport)(session);
  }
}
