import { Transform } from 'class-transformer';
import { IsBoolean, IsNotEmpty, IsOptional, IsString, Length, MaxLength } from 'class-validator';

export class LoginDto {
  @IsString()
  @IsNotEmpty()
  @MaxLength(64)
  readonly username!: string;

  @IsString()
  @IsNotEmpty()
  @MaxLength(128)
  readonly password!: string;

  /** Stay logged in when the browser is closed. A form that is sent without script says it in letters. */
  @Transform(({ value }: { value: unknown }) => (value === 'true' ? true : value))
  @IsOptional()
  @IsBoolean()
  readonly rememberMe?: boolean | null;

  /** What the user calls the device. */
  @IsOptional()
  @IsString()
  @Length(1, 64)
  readonly label?: string | null;
}
