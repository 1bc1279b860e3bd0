import { Injectable } from '@nestjs/common';
import { isPassword } from './passwords.js';

export interface User {
  readonly name: string;
  readonly roles: readonly string[];
}

interface Account extends User {
  /** As `isPassword` reads it. */
  readonly password: string;
}

/** alice/wonderland, bob/builder, admin/changeit. */
const ACCOUNTS: readonly Account[] = [
  {
    name: 'alice',
    roles: [],
    password: 'E4yOARXn3RS0Sya-c1UkQA.x1fgi-vlD5xwFi3gMAZRTmEzEe8ELiPkgUdqAzQTiJU',
  },
  {
    name: 'bob',
    roles: [],
    password: '8DkTpzrxh6Nu8MQrYYkSVg.yg7wYylC2WRfPA0PTsXr4OPAfEL5ZaX2ZaCsg6GB1g4',
  },
  {
    name: 'admin',
    roles: ['admin'],
    password: 'VZpphXV19luJHStn4_5cIw.Y2Jp21t0deRkkHMyCeSj6_MlXQIJq4vXPQVA2oxUrB0',
  },
];

/** Of a random password that nobody knows: unknown names cost the same time as known ones. */
const NOBODY = 'pXz_SxqcKAaci1qmhpFmgA.DUJ7dsh6-_b_VwQ-PrWZIqFjTtQWX5PtKztAtQHQ99M';

/** Who may log in. */
@Injectable()
export class Users {
  readonly #accounts = new Map(ACCOUNTS.map((account) => [account.name, account]));

  /** The user with this name and password, `undefined` if there is none. */
  async verify(name: string, password: string): Promise<User | undefined> {
    const account = this.#accounts.get(name);
    const matches = await isPassword(password, account?.password ?? NOBODY);
    return matches ? account : undefined;
  }
}
