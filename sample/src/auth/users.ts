import { Injectable } from '@nestjs/common';
import { isPassword } from './passwords.js';

export interface User {
  readonly name: string;
  readonly roles: readonly string[];
  readonly email: string;
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
    email: 'alice@shop.example',
    password: 'E4yOARXn3RS0Sya-c1UkQA.x1fgi-vlD5xwFi3gMAZRTmEzEe8ELiPkgUdqAzQTiJU',
  },
  {
    name: 'bob',
    roles: [],
    email: 'bob@shop.example',
    password: '8DkTpzrxh6Nu8MQrYYkSVg.yg7wYylC2WRfPA0PTsXr4OPAfEL5ZaX2ZaCsg6GB1g4',
  },
  {
    name: 'admin',
    roles: ['admin'],
    email: 'admin@shop.example',
    password: 'VZpphXV19luJHStn4_5cIw.Y2Jp21t0deRkkHMyCeSj6_MlXQIJq4vXPQVA2oxUrB0',
  },
];

/** Of a random password that nobody knows: unknown names cost the same time as known ones. */
const NOBODY = 'pXz_SxqcKAaci1qmhpFmgA.DUJ7dsh6-_b_VwQ-PrWZIqFjTtQWX5PtKztAtQHQ99M';

/** Who may log in. What is changed here is of this process; an application keeps it in its database. */
@Injectable()
export class Users {
  readonly #accounts = new Map(ACCOUNTS.map((account) => [account.name, account]));

  /** The user with this name and password, `undefined` if there is none. */
  async verify(name: string, password: string): Promise<User | undefined> {
    const account = this.#accounts.get(name);
    const matches = await isPassword(password, account?.password ?? NOBODY);
    return matches ? account : undefined;
  }

  /** The user with this name, `undefined` if there is none. */
  find(name: string): User | undefined {
    return this.#accounts.get(name);
  }

  /** Changes what is known of a user; `false` if there is none with this name. */
  update(name: string, change: Partial<Pick<User, 'roles' | 'email'>>): boolean {
    const account = this.#accounts.get(name);
    if (account) this.#accounts.set(name, { ...account, ...change });
    return account !== undefined;
  }
}
