import { expect, it } from '@jest/globals';
import { RecentKeys } from '../../lib/stores/redis/recent-keys.js';

it('what SCAN has told lately is known again, and no more than that is remembered', () => {
  const recent = new RecentKeys(100);
  const told = Array.from({ length: 1_050 }, (_, i) => `key-${i}`);
  expect(told.filter((key) => recent.add(key))).toEqual(told);
  // From the latest on, the first that is not known any more.
  const forgotten = told.toReversed().findIndex((key) => recent.add(key));
  expect(forgotten).toBeGreaterThanOrEqual(100);
  expect(forgotten).toBeLessThanOrEqual(200);
});
