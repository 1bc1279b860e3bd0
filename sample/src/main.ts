import 'reflect-metadata';
import { Logger, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { SessionIoAdapter } from 'nestjs-distributed-session/socket.io';
import { AppModule } from './app.module.js';
import { OneTimeCodes } from './auth/one-time-codes.js';
import { piecesIn } from './cart/cart.js';
import { chooseSessionHome, type SessionHome } from './home/session-home.js';
import { readSettings, type Settings } from './settings.js';

const logger = new Logger('Shop');

try {
  await start(readSettings(process.env));
} catch (error) {
  logger.fatal(`The shop cannot start: ${(error as Error).message}`);
  process.exit(1);
}

async function start(settings: Settings): Promise<void> {
  const home = await chooseSessionHome(settings);
  logger.log(home.description);
  warnAbout(settings);
  const codes = new OneTimeCodes(settings.totpSecret);
  tellAbout(codes, settings);

  const app = await NestFactory.create(
    AppModule.with(sessionOptions(home, settings), codes),
    await createAdapter(settings),
    { abortOnError: false },
  );
  protect(app, settings);
  app.useWebSocketAdapter(new SessionIoAdapter(app));
  app.enableShutdownHooks(['SIGINT', 'SIGTERM'], { useProcessExit: true });
  await app.listen(settings.port, settings.host);
  logger.log(`Listening on ${await app.getUrl()}`);
}

function sessionOptions(home: SessionHome, settings: Settings): SessionModuleOptions {
  const { secret, allowHttp, routingCookie, idleTimeout, maxSessions, onLimit } = settings;
  return {
    ...home.options,
    secret,
    ...(!home.isCarried && { encryption: true }),
    renewalTimeout: '15m',
    // Of the data, events tell no more than how much is in the cart.
    ...(!home.isSilent && {
      events: { modified: true, projection: ({ data }) => ({ items: piecesIn(data.cart) }) },
    }),
    cookie: {
      ...(allowHttp && { secure: false }),
      ...(routingCookie !== undefined && { routing: routingCookie }),
    },
    ...(idleTimeout !== undefined && { idleTimeout }),
    ...(maxSessions !== undefined && { maxSessions }),
    ...(onLimit !== undefined && { onLimit }),
  };
}

/** Only the one that is used is loaded. */
async function createAdapter({ adapter, trustProxy }: Settings) {
  if (adapter === 'fastify') {
    const { FastifyAdapter } = await import('@nestjs/platform-fastify');
    // A balancer may send a request on a connection that it has before it sees that this node ends.
    return new FastifyAdapter({ trustProxy: trustProxy ?? false, return503OnClosing: false });
  }
  const { ExpressAdapter } = await import('@nestjs/platform-express');
  const express = new ExpressAdapter();
  express.set('trust proxy', trustProxy ?? false);
  return express;
}

/** Nothing inline, nothing from elsewhere, and no other site may act with a visitor's cookie. */
function protect(app: INestApplication, { allowHttp }: Settings): void {
  app.useSecurityHeaders({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': ["'self'"],
        'style-src': ["'self'"],
        'img-src': ["'self'"],
        'connect-src': ["'self'"],
        'form-action': ["'self'"],
        'base-uri': ["'none'"],
        'frame-ancestors': ["'none'"],
        'require-trusted-types-for': ["'script'"],
      },
    },
    xFrameOptions: { action: 'deny' },
    strictTransportSecurity: !allowHttp,
  });
  app.enableCsrfProtection();
}

function warnAbout({ secretIsRandom, allowHttp, host }: Settings): void {
  if (secretIsRandom) {
    logger.warn(
      'SESSION_SECRET is not set: a random one serves until this process ends. Several nodes need the same one.',
    );
  }
  if (allowHttp && !['127.0.0.1', '::1', 'localhost'].includes(host)) {
    logger.warn(
      `ALLOW_HTTP is on and HOST is ${host}: session cookies travel unencrypted. Set ALLOW_HTTP=0 and serve over https.`,
    );
  }
}

/** A real shop shows each user a secret of their own, once, and never writes one to a log. */
function tellAbout(codes: OneTimeCodes, { totpSecret, totpSecretIsRandom }: Settings): void {
  logger.log(
    totpSecretIsRandom
      ? `Authenticator codes: add ${codes.uri} to an app, or run: oathtool --totp -b ${totpSecret.base32} (a demo secret of this process; set TOTP_SECRET to keep one)`
      : 'Authenticator codes are those of TOTP_SECRET, for all users: a demo',
  );
}
