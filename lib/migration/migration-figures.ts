import type { MigrationFigures } from '../core/migration-figures.js';

export const newFigures = (): MigrationFigures => ({
  converted: 0,
  joined: 0,
  adopted: 0,
  written: 0,
  endedThere: 0,
  unknown: 0,
});
