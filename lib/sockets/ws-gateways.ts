import type { INestApplicationContext } from '@nestjs/common';
import { INTERCEPTORS_METADATA } from '@nestjs/common/constants.js';
import { ModulesContainer } from '@nestjs/core';
import { GATEWAY_METADATA } from '@nestjs/websockets/constants.js';
import { messageInterceptor } from '../access/message.interceptor.js';

/** Lets all gateways of an application, before they are connected, store what messages change. */
export function interceptGateways(app: INestApplicationContext): void {
  for (const { providers } of app.get(ModulesContainer, { strict: false }).values()) {
    for (const { metatype } of providers.values()) {
      if (typeof metatype !== 'function' || !Reflect.hasMetadata(GATEWAY_METADATA, metatype)) {
        continue;
      }
      const others = (Reflect.getMetadata(INTERCEPTORS_METADATA, metatype) ?? []) as unknown[];
      if (others.includes(messageInterceptor)) continue;
      Reflect.defineMetadata(INTERCEPTORS_METADATA, [messageInterceptor, ...others], metatype);
    }
  }
}
