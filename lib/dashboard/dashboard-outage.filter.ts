import { Catch, Inject, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import { RETRY_AFTER, SessionHttpException } from '../http/session-http.exception.js';
import { addressesOf, respond, type DashboardRequest } from './dashboard-answers.js';
import { DASHBOARD_OPTIONS, type DashboardOptions } from './dashboard.options.js';
import { PAGE_STYLE } from './page-style.js';
import { outagePage } from './page-view.js';

/** An outage of the store, and nothing else: other errors are for the filters of the application. */
abstract class Outage {
  static [Symbol.hasInstance](error: unknown): boolean {
    const cause = error instanceof SessionHttpException ? error.cause : error;
    return cause instanceof SessionStoreUnavailableError;
  }
}

/** Says what is the matter to people, where guards cannot ask who they are. */
@Catch(Outage)
export class DashboardOutageFilter implements ExceptionFilter {
  constructor(
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
    @Inject(DASHBOARD_OPTIONS) private readonly options: DashboardOptions,
  ) {}

  catch(_error: unknown, host: ArgumentsHost): void {
    const { httpAdapter } = this.adapterHost;
    const http = host.switchToHttp();
    const response: unknown = http.getResponse();
    // A stream of events has begun: it ends.
    if (httpAdapter.isHeadersSent(response)) return void httpAdapter.end(response);
    const request = http.getRequest<DashboardRequest>();
    const { base, home } = addressesOf(request, this.options);
    const asked = request.url.split('?', 1)[0] ?? '';
    const isOrder = request.method === 'POST' && !asked.endsWith('/search');
    // Guards know as little who asks for what the page is to look like.
    if (asked.endsWith('/page.css')) {
      return respond(httpAdapter, response, PAGE_STYLE, { type: 'text/css' });
    }
    httpAdapter.setHeader(response, 'Retry-After', RETRY_AFTER);
    respond(httpAdapter, response, outagePage(base, home, isOrder), { status: 503 });
  }
}
