import type { Redis } from 'ioredis';
import type { RedisCluster } from './redis-cluster.js';

/** A slot on its way from the master that has it to another. */
export class SlotMove {
  private constructor(
    readonly slot: number,
    private readonly from: Redis,
    private readonly to: Redis,
    private readonly others: readonly Redis[],
  ) {}

  /** @param place the slot, or a key that lies in it */
  static async begin(cluster: RedisCluster, place: string | number): Promise<SlotMove> {
    const nodes = cluster.masters.map((master) => master.connect());
    const slot =
      typeof place === 'number' ? place : Number(await nodes[0]!.cluster('KEYSLOT', place));
    const holder = await holderOf(slot, nodes);
    const from = nodes[holder]!;
    const to = nodes[(holder + 1) % nodes.length]!;
    const ids = await Promise.all([from, to].map((node) => node.cluster('MYID')));
    await to.cluster('SETSLOT', slot, 'IMPORTING', String(ids[0]));
    await from.cluster('SETSLOT', slot, 'MIGRATING', String(ids[1]));
    return new SlotMove(slot, from, to, nodes);
  }

  /** The port of the node that it goes to. */
  get target(): number {
    return Number(this.to.options.port);
  }

  /** Moves some of its keys. */
  async keys(which: (key: string) => boolean = () => true): Promise<void> {
    const { username, password } = this.to.options;
    const login = password ? ['AUTH2', username, password] : [];
    const port = String(this.target);
    const keys = (await this.from.cluster('GETKEYSINSLOT', this.slot, 1_000)) as string[];
    for (const key of keys.filter(which)) {
      await this.from.call('MIGRATE', '127.0.0.1', port, key, '0', '1000', ...(login as string[]));
    }
  }

  /** It is at its new place, and all masters are told. */
  async end(): Promise<void> {
    const id = String(await this.to.cluster('MYID'));
    for (const node of [this.to, this.from, ...this.others]) {
      await node.cluster('SETSLOT', this.slot, 'NODE', id);
    }
    for (const node of this.others) node.disconnect();
  }
}

/** Which of the masters has a slot now. */
async function holderOf(slot: number, nodes: readonly Redis[]): Promise<number> {
  const ranges = (await nodes[0]!.cluster('SLOTS')) as unknown as [
    number,
    number,
    [string, number],
  ][];
  const range = ranges.find(([first, last]) => first <= slot && slot <= last);
  return nodes.findIndex(({ options }) => options.port === range?.[2][1]);
}
