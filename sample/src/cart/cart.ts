/** A product in a cart. */
export interface CartItem {
  readonly sku: string;
  readonly qty: number;
}

declare module 'nestjs-distributed-session' {
  interface SessionData {
    /** Absent while it is empty: an empty cart needs no session. */
    cart?: readonly CartItem[];
  }
}

/** How many pieces are in a cart. */
export function piecesIn(cart: readonly CartItem[] = []): number {
  return cart.reduce((sum, { qty }) => sum + qty, 0);
}

/** The cart with some more of a product. */
export function withItem(cart: readonly CartItem[] = [], { sku, qty }: CartItem): CartItem[] {
  const known = cart.some((item) => item.sku === sku);
  if (!known) return [...cart, { sku, qty }];
  return cart.map((item) => (item.sku === sku ? { sku, qty: item.qty + qty } : item));
}

/** The cart without a product; `undefined` if nothing is left in it. */
export function withoutItem(cart: readonly CartItem[] = [], sku: string): CartItem[] | undefined {
  const rest = cart.filter((item) => item.sku !== sku);
  return rest.length > 0 ? rest : undefined;
}
