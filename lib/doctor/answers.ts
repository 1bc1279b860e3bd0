import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { rootCertificates } from 'node:tls';

/** An answer of an application, as far as cookies go. */
export interface Answer {
  readonly status: number;
  readonly cookies: readonly string[];
  readonly cacheControl: string;
}

/** What came of asking an application for a page: twice, the second time with the cookies of the first. */
export interface AnswerFacts {
  readonly url: URL;
  /** Why there is none. */
  readonly failure?: string | undefined;
  readonly first?: Answer | undefined;
  readonly second?: Answer | undefined;
}

export interface AskOptions {
  /** Certificates to trust besides. */
  readonly ca?: string | undefined;
}

const PATIENCE = 5_000;

/** Asks for a page as a browser that has no session yet, and then as the same with what it was given. */
export async function answersOf(url: URL, options: AskOptions = {}): Promise<AnswerFacts> {
  try {
    const first = await fetchOnce(url, options);
    const jar = first.cookies.map((one) => one.split(';', 1)[0]).join('; ');
    const second = jar === '' ? undefined : await fetchOnce(url, options, { cookie: jar });
    return { url, first, second };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return { url, failure: code ?? message };
  }
}

function fetchOnce(
  url: URL,
  { ca }: AskOptions,
  more: Record<string, string> = {},
): Promise<Answer> {
  const isSecure = url.protocol === 'https:';
  const options = {
    headers: { accept: 'text/html,application/json;q=0.9,*/*;q=0.8', ...more },
    timeout: PATIENCE,
    ...(isSecure && ca !== undefined && { ca: [...rootCertificates, ca] }),
  };
  return new Promise((resolve, reject) => {
    const heard = (incoming: IncomingMessage) => {
      // What follows the head is of no interest, and may never end.
      incoming.destroy();
      resolve(answerIn(incoming));
    };
    const sent = isSecure ? requestHttps(url, options, heard) : requestHttp(url, options, heard);
    sent.on('timeout', () =>
      sent.destroy(Object.assign(new Error('timeout'), { code: 'timeout' })),
    );
    sent.on('error', reject);
    sent.end();
  });
}

function answerIn({ statusCode = 0, rawHeaders }: IncomingMessage): Answer {
  const pairs = Array.from({ length: rawHeaders.length / 2 }, (_, i) => ({
    name: (rawHeaders[2 * i] as string).toLowerCase(),
    value: rawHeaders[2 * i + 1] as string,
  }));
  const all = (pattern: RegExp) =>
    pairs.filter(({ name }) => pattern.test(name)).map((one) => one.value);
  return {
    status: statusCode,
    cookies: all(/^set-cookie$/),
    cacheControl: all(/^cache-control$/).join(', '),
  };
}
