import { Controller, Get, Header } from '@nestjs/common';
import { SkipSession } from 'nestjs-distributed-session';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The page and what it consists of, read once at boot. */
@SkipSession()
@Controller()
export class PageController {
  readonly #html = publicFile('index.html');
  readonly #script = publicFile('shop.js');
  readonly #style = publicFile('shop.css');
  readonly #icon = publicFile('favicon.svg');

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Cache-Control', 'no-cache')
  html() {
    return this.#html;
  }

  @Get('shop.js')
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  @Header('Cache-Control', 'no-cache')
  script() {
    return this.#script;
  }

  @Get('shop.css')
  @Header('Content-Type', 'text/css; charset=utf-8')
  @Header('Cache-Control', 'no-cache')
  style() {
    return this.#style;
  }

  @Get('favicon.svg')
  @Header('Content-Type', 'image/svg+xml')
  @Header('Cache-Control', 'no-cache')
  icon() {
    return this.#icon;
  }
}

/** Beside the sources; the program runs from `dist-sample`. */
function publicFile(name: string): string {
  return readFileSync(join(import.meta.dirname, '../../sample/public', name), 'utf8');
}
