import { applyDecorators, Controller, Get, Header } from '@nestjs/common';
import { SkipSession } from 'nestjs-distributed-session';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

function Script(path: string): MethodDecorator {
  return applyDecorators(
    Get(path),
    Header('Content-Type', 'text/javascript; charset=utf-8'),
    Header('Cache-Control', 'no-cache'),
  );
}

/** The page and what it consists of, read once at boot. */
@SkipSession()
@Controller()
export class PageController {
  readonly #html = publicFile('index.html');
  readonly #shop = publicFile('shop.js');
  readonly #live = publicFile('live.js');
  readonly #news = publicFile('news.js');
  readonly #style = publicFile('shop.css');
  readonly #icon = publicFile('favicon.svg');

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Cache-Control', 'no-cache')
  html() {
    return this.#html;
  }

  @Script('shop.js')
  shop() {
    return this.#shop;
  }

  @Script('live.js')
  live() {
    return this.#live;
  }

  @Script('news.js')
  news() {
    return this.#news;
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
