import { ArrayMaxSize, IsArray, IsString, Length } from 'class-validator';

export class RolesDto {
  @IsArray()
  @ArrayMaxSize(16)
  @IsString({ each: true })
  @Length(1, 32, { each: true })
  readonly roles!: readonly string[];
}
