import { BlockList, isIP, isIPv6 } from 'node:net';
import type {
  AddressBinding,
  BoundProperty,
  ClientBindingOptions,
  ClientTraits,
  OnMismatch,
  SessionBinding,
} from '../core/session-binding.js';

/** Another program says more than another network: people move, their browsers do not become others. */
const WEIGHTS: Readonly<Record<BoundProperty, number>> = { userAgent: 0.7, address: 0.3 };

/** Ties sessions to the network and the kind of software that they began with. */
export class ClientBinding implements SessionBinding {
  readonly onMismatch: OnMismatch;

  constructor(private readonly options: ClientBindingOptions) {
    this.onMismatch = options.onMismatch;
  }

  of({ address, userAgent }: ClientTraits): Readonly<Record<string, string>> {
    const { options } = this;
    return {
      ...(options.userAgent && { userAgent: userAgent ?? '' }),
      // That of a client that has left may be unknown.
      ...(options.address &&
        address !== undefined && { address: keptOf(address, options.address) }),
    };
  }

  mismatches(
    bound: Readonly<Record<string, string>>,
    now: Readonly<Record<string, string>>,
  ): readonly BoundProperty[] {
    const found: BoundProperty[] = [];
    // What was not bound when the session began is not judged.
    if (differ(bound.userAgent, now.userAgent)) found.push('userAgent');
    if (differ(bound.address, now.address) && !this.#isNear(bound.address!, now.address!)) {
      found.push('address');
    }
    return found;
  }

  score(mismatches: readonly BoundProperty[]): number {
    const weighs = (name: BoundProperty) => (this.options[name] ? WEIGHTS[name] : 0);
    const all = weighs('userAgent') + weighs('address');
    const differs = mismatches.reduce((sum, name) => sum + weighs(name), 0);
    return all === 0 ? 0 : differs / all;
  }

  #isNear(one: string, other: string): boolean {
    const { address: bits } = this.options;
    const family = isIP(one);
    if (typeof bits !== 'object' || family === 0 || family !== isIP(other)) return false;
    const name = isIPv6(one) ? 'ipv6' : 'ipv4';
    const network = new BlockList();
    network.addSubnet(one, bits[name], name);
    return network.check(other, name);
  }
}

const differ = (before: string | undefined, now: string | undefined): boolean =>
  before !== undefined && now !== undefined && before !== now;

const keptOf = (address: string, binding: AddressBinding): string =>
  typeof binding === 'function' ? String(binding(address)) : address;
