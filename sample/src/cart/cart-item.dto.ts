import { IsInt, IsString, Length, Max, Min } from 'class-validator';
import type { CartItem } from './cart.js';

export class CartItemDto implements CartItem {
  @IsString()
  @Length(1, 64)
  readonly sku!: string;

  @IsInt()
  @Min(1)
  @Max(100)
  readonly qty!: number;
}
