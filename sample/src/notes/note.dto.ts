import { IsDefined } from 'class-validator';

export class NoteDto {
  /** Any JSON but `null`. */
  @IsDefined()
  readonly value!: unknown;
}
