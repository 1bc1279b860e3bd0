import { describe, expect, it } from '@jest/globals';
import { commitPlan, type CommitFacts, type CommitPlan } from '../../lib/core/commit-plan.js';

/** Facts that a row does not name may be either way. Each combination of facts fits one row only. */
type Row = Partial<CommitFacts> & { plan: CommitPlan };

const alive = { destroyed: false, ended: false };
const asItIs = { ...alive, renewal: undefined };
const regenerated = { ...alive, renewal: 'regenerate' as const };
const startedOver = { ...alive, renewal: 'start-over' as const };
const authenticated = { ...alive, renewal: 'authenticate' as const };

const rows: Row[] = [
  { destroyed: true, plan: 'delete' },
  { destroyed: false, ended: true, plan: 'nothing' },

  { ...asItIs, changed: false, plan: 'nothing' },
  { ...asItIs, changed: true, stored: true, plan: 'save' },
  { ...asItIs, changed: true, stored: false, superseded: false, plan: 'create' },
  { ...asItIs, changed: true, stored: false, superseded: true, plan: 'refuse' },

  { ...regenerated, stored: true, plan: 'replace' },
  { ...regenerated, stored: false, changed: false, plan: 'nothing' },
  { ...regenerated, stored: false, changed: true, superseded: false, plan: 'create' },
  { ...regenerated, stored: false, changed: true, superseded: true, plan: 'refuse' },

  { ...startedOver, empty: true, stored: true, plan: 'delete' },
  { ...startedOver, empty: true, stored: false, plan: 'nothing' },
  { ...startedOver, empty: false, stored: true, plan: 'replace' },
  { ...startedOver, empty: false, stored: false, changed: false, plan: 'nothing' },
  { ...startedOver, empty: false, stored: false, changed: true, plan: 'create' },

  { ...authenticated, stored: true, plan: 'replace' },
  { ...authenticated, stored: false, plan: 'create' },
];

const either = [false, true];
const renewals = [undefined, 'regenerate', 'start-over', 'authenticate'] as const;

const combinations: CommitFacts[] = either.flatMap((stored) =>
  either.flatMap((superseded) =>
    either.flatMap((ended) =>
      either.flatMap((destroyed) =>
        either.flatMap((changed) =>
          either.flatMap((empty) =>
            renewals.map((renewal) => ({
              stored,
              superseded,
              ended,
              destroyed,
              changed,
              empty,
              renewal,
            })),
          ),
        ),
      ),
    ),
  ),
);

const fits = (facts: CommitFacts, row: Row): boolean =>
  Object.entries(row).every(
    ([fact, value]) => fact === 'plan' || facts[fact as keyof CommitFacts] === value,
  );

describe('the commit plan', () => {
  it('is what the table says, for every combination of facts', () => {
    expect(combinations).toHaveLength(256);
    for (const facts of combinations) {
      const matching = rows.filter((row) => fits(facts, row));
      expect({ facts, rows: matching.length }).toEqual({ facts, rows: 1 });
      expect({ facts, plan: commitPlan(facts) }).toEqual({ facts, plan: matching[0]?.plan });
    }
  });

  it('never writes for a session that was ended, and never creates what is stored', () => {
    for (const facts of combinations) {
      const plan = commitPlan(facts);
      if (facts.ended && !facts.destroyed) expect(plan).toBe('nothing');
      if (facts.stored) expect(plan).not.toBe('create');
      else expect(plan).not.toMatch(/save|replace/);
    }
  });
});
