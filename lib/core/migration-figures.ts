/** What a migration has done on this node since it started; for metrics. */
export interface MigrationFigures {
  /** Sessions that were made from one of the other library. */
  converted: number;
  /** Requests that came with the same one while somebody else had made it already. */
  joined: number;
  /** Times that what the other library had written was taken over. */
  adopted: number;
  /** Records that were written for the other library. */
  written: number;
  /** Sessions that ended because they had ended there. */
  endedThere: number;
  /** Requests whose session was not known any more. */
  unknown: number;
}
