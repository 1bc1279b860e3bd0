import { IsString, Length } from 'class-validator';

export class LabelDto {
  @IsString()
  @Length(1, 64)
  readonly label!: string;
}
