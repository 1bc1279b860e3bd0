import { Matches } from 'class-validator';

export class ElevateDto {
  @Matches(/^\d{6}$/)
  readonly code!: string;
}
