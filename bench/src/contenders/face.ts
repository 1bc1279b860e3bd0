import {
  Controller,
  createParamDecorator,
  Get,
  Post,
  UseGuards,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { summaryOf, visitOf } from '../visit.js';
import type { Setup } from './contender.js';

const visit = visitOf('user-000000', 1_024);

/** What Nest itself costs of an application that looks like ours: there is nothing behind it. */
export function face(): Setup {
  return {
    controllers: [FaceController],
    providers: [{ provide: APP_INTERCEPTOR, useValue: { intercept: passOn } }],
  };
}

const passOn = (_: ExecutionContext, next: CallHandler) => next.handle();

class OpenGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    return true;
  }
}

const Visit = createParamDecorator(async () => visit);

@Controller()
class FaceController {
  @Post('login')
  login() {
    return {};
  }

  @UseGuards(OpenGuard)
  @Get('read')
  read(@Visit() found: typeof visit) {
    return summaryOf(found);
  }
}
