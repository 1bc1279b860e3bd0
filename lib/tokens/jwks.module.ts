import {
  Controller,
  Get,
  Header,
  Inject,
  Module,
  SetMetadata,
  VERSION_NEUTRAL,
  type DynamicModule,
} from '@nestjs/common';
import { toMilliseconds, type Duration } from '../core/duration.js';
import { SessionOptionsError } from '../core/session.errors.js';
import { ALLOW_ANONYMOUS, SESSION_OPTIONS, SKIP_SESSION } from '../session.constants.js';
import { JwtIssuer } from './jwt-issuer.js';

/** Options of {@link JwksModule}. */
export interface JwksOptions {
  /** Where the keys are found. A global prefix of the application comes before it. @default '/.well-known/jwks.json' */
  path?: string;
  /** How long caches may keep the answer: as long before it signs must a new key be published. @default '5m' */
  maxAge?: Duration;
  /** Whose keys. @default the option `tokens` of `SessionModule` */
  issuer?: JwtIssuer;
}

const ISSUER = Symbol('issuer of published keys');

/**
 * Publishes the keys by which services verify tokens of `session.token()`, as a JWK set. Public keys only;
 * the route has no session, and is open to everybody.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) at boot where there is no `JwtIssuer`
 * @example
 * \@Module({ imports: [SessionModule.forRoot({ tokens }), JwksModule.forRoot()] })
 */
@Module({})
export class JwksModule {
  static forRoot(options: JwksOptions = {}): DynamicModule {
    const { path = '/.well-known/jwks.json', maxAge = '5m', issuer } = options;
    const milliseconds = toMilliseconds(maxAge) ?? -1;
    if (milliseconds < 0 || typeof path !== 'string' || !path.startsWith('/')) {
      throw new SessionOptionsError([
        "JwksModule: path must begin with '/', and maxAge be a duration such as '5m'",
      ]);
    }
    return {
      module: JwksModule,
      providers: [
        {
          provide: ISSUER,
          useFactory: (sessions?: { readonly tokens?: unknown }) =>
            usable(issuer ?? sessions?.tokens),
          inject: [{ token: SESSION_OPTIONS, optional: true }],
        },
      ],
      controllers: [controllerAt(path, Math.floor(milliseconds / 1_000))],
    };
  }
}

/** Of each path a class of its own: Nest keeps it with the method. */
function controllerAt(path: string, maxAge: number) {
  @SetMetadata(SKIP_SESSION, true)
  @SetMetadata(ALLOW_ANONYMOUS, true)
  @Controller({ version: VERSION_NEUTRAL })
  class JwksController {
    constructor(@Inject(ISSUER) private readonly issuer: JwtIssuer) {}

    @Header('Content-Type', 'application/jwk-set+json')
    @Header('Cache-Control', `public, max-age=${maxAge}`)
    @Get(path)
    keys() {
      return this.issuer.jwks();
    }
  }
  return JwksController;
}

async function usable(issuer: unknown): Promise<JwtIssuer> {
  if (!(issuer instanceof JwtIssuer)) {
    throw new SessionOptionsError([
      'JwksModule has no keys to publish: give SessionModule the option `tokens: new JwtIssuer(…)`, or JwksModule the option `issuer`',
    ]);
  }
  await issuer.ready();
  return issuer;
}
