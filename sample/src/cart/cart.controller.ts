import { Body, Controller, Delete, Get, Header, Param, Post } from '@nestjs/common';
import { Session } from 'nestjs-distributed-session';
import { stored } from '../session/stored.js';
import { withItem, withoutItem, type CartItem } from './cart.js';
import { CartItemDto } from './cart-item.dto.js';

/** Everybody has a cart, logged in or not. */
@Controller('cart')
export class CartController {
  @Get()
  @Header('Cache-Control', 'no-store')
  show(@Session('cart') cart: readonly CartItem[] = []) {
    return { items: cart };
  }

  @Post('items')
  async add(@Session() session: Session, @Body() item: CartItemDto) {
    session.update('cart', (cart) => withItem(cart, item));
    await stored(session);
    return this.show(session.get('cart'));
  }

  @Delete('items/:sku')
  async remove(@Session() session: Session, @Param('sku') sku: string) {
    session.update('cart', (cart) => withoutItem(cart, sku));
    await stored(session);
    return this.show(session.get('cart'));
  }
}
