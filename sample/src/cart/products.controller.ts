import { Controller, Get } from '@nestjs/common';
import { SkipSession } from 'nestjs-distributed-session';

const PRODUCTS = [
  { sku: 'kettle', name: 'Enamel kettle', about: 'Boils a litre in four minutes.', cents: 3900 },
  { sku: 'mug', name: 'Stoneware mug', about: 'Holds 300 ml, keeps warm.', cents: 1250 },
  { sku: 'beans', name: 'Coffee beans', about: 'Half a kilo, medium roast.', cents: 1190 },
  { sku: 'tea', name: 'Green tea', about: 'Loose leaves, 100 g.', cents: 860 },
  { sku: 'honey', name: 'Forest honey', about: 'From the hives behind the shop.', cents: 740 },
  { sku: 'tray', name: 'Beech tray', about: 'Carries all of the above.', cents: 2400 },
];

/** The same for everybody: no session is touched. */
@SkipSession()
@Controller('products')
export class ProductsController {
  @Get()
  list() {
    return { products: PRODUCTS };
  }
}
