import { ConfigurableModuleBuilder, Module } from '@nestjs/common';
import { TOKEN_GUARD } from '../core/session-token.js';
import { JwtSessionGuard } from './jwt-session.guard.js';
import type { JwtSessionOptions } from './jwt-session.options.js';
import { JwtVerifier } from './jwt-verifier.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<JwtSessionOptions>()
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createJwtSessionOptions')
    .setExtras({ isGlobal: true }, (definition, { isGlobal }) => ({
      ...definition,
      global: isGlobal,
    }))
    .build();

/**
 * For services that are told by tokens of `session.token()` who is logged in, and have neither sessions nor
 * the store: `JwtSessionGuard`, and `JwtVerifier` by itself. Global; import it once, by `forRoot` or
 * `forRootAsync`.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) at boot for wrong options
 * @example
 * \@Module({
 *   imports: [
 *     JwtSessionModule.forRoot({
 *       issuer: 'https://shop.example',
 *       audience: 'https://orders.example',
 *       jwks: 'https://shop.example/.well-known/jwks.json',
 *     }),
 *   ],
 * })
 */
@Module({
  providers: [
    {
      provide: JwtVerifier,
      useFactory: (options: JwtSessionOptions) => JwtVerifier.create(options),
      inject: [MODULE_OPTIONS_TOKEN],
    },
    JwtSessionGuard,
    { provide: TOKEN_GUARD, useExisting: JwtSessionGuard },
  ],
  exports: [JwtVerifier, JwtSessionGuard, TOKEN_GUARD],
})
export class JwtSessionModule extends ConfigurableModuleClass {}
