import {
  metrics,
  SpanKind,
  SpanStatusCode,
  trace,
  type Counter,
  type Histogram,
  type Meter,
  type Span,
  type Tracer,
} from '@opentelemetry/api';
import type { RejectionReason } from '../core/rejection.js';
import type {
  SessionFigures,
  SessionObserver,
  SessionStep,
} from '../core/session-observer.interface.js';
import { SessionError } from '../core/session.errors.js';
import { showFigures } from './session-gauges.js';

/** What {@link openTelemetry} works with. */
export interface OpenTelemetryOptions {
  /** Makes the instruments. @default the global provider's `nestjs-distributed-session` */
  readonly meter?: Meter;
  /** Makes the spans; `false`: none are made. @default the global provider's `nestjs-distributed-session` */
  readonly tracer?: Tracer | false;
}

const NAME = 'nestjs-distributed-session';
/** Bounds of the histograms, in seconds: a session is read in parts of a millisecond, and given up after seconds. */
const BOUNDS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
];

/**
 * Metrics and spans of sessions by OpenTelemetry's API, for whatever its SDK sends them to. None of them tells an
 * id, a handle, a principal or data. `docs/operations.md` lists them.
 *
 * @example
 * SessionModule.forRoot({ redis, observer: openTelemetry() });
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): SessionObserver {
  const meter = options.meter ?? metrics.getMeter(NAME);
  const tracer = options.tracer === false ? undefined : (options.tracer ?? trace.getTracer(NAME));
  return new OpenTelemetryObserver(meter, tracer);
}

class OpenTelemetryObserver implements SessionObserver {
  readonly #phases: Histogram;
  readonly #operations: Histogram;
  readonly #conflicts: Counter;
  readonly #rejections: Counter;

  constructor(
    private readonly meter: Meter,
    private readonly tracer: Tracer | undefined,
  ) {
    this.#phases = histogramOf(meter, 'session.phase.duration', 'Parts of the way of a request');
    this.#operations = histogramOf(meter, 'session.store.duration', 'What the store was asked for');
    this.#conflicts = meter.createCounter('session.conflicts', {
      description:
        'Saves that somebody else had overtaken: what was changed is changed again on what is stored',
    });
    this.#rejections = meter.createCounter('session.rejections', {
      description: 'What came as a session and was refused',
    });
  }

  async step<T>(step: SessionStep, run: () => Promise<T>): Promise<T> {
    const began = performance.now();
    const { tracer } = this;
    if (!tracer) return this.#measured(step, began, run, undefined);
    return tracer.startActiveSpan(step.name, { kind: SpanKind.INTERNAL }, (span) =>
      this.#measured(step, began, run, span),
    );
  }

  rejected(reason: RejectionReason, realm: string | undefined): void {
    this.#rejections.add(1, { reason, ...nameOf(realm) });
  }

  watch(figures: SessionFigures, realm: string | undefined): () => void {
    return showFigures(this.meter, figures, nameOf(realm));
  }

  async #measured<T>(
    step: SessionStep,
    began: number,
    run: () => Promise<T>,
    span: Span | undefined,
  ): Promise<T> {
    let outcome = 'failed';
    try {
      const result = await run();
      outcome = step.outcomeOf(result);
      return result;
    } catch (error) {
      // The message of somebody else's error could tell anything.
      const code = error instanceof SessionError ? error.code : 'UNKNOWN';
      span?.setStatus({ code: SpanStatusCode.ERROR, message: code });
      throw error;
    } finally {
      this.#record(step, outcome, (performance.now() - began) / 1_000);
      span?.setAttributes({ outcome, ...nameOf(step.realm) });
      span?.end();
    }
  }

  #record({ name, realm }: SessionStep, outcome: string, seconds: number): void {
    const [kind, what] = name.split('.') as [string, string];
    const attributes = { outcome, ...nameOf(realm) };
    if (kind === 'session') return this.#phases.record(seconds, { phase: what, ...attributes });
    this.#operations.record(seconds, { operation: what, ...attributes });
    if (outcome === 'conflict') this.#conflicts.add(1, nameOf(realm));
  }
}

const histogramOf = (meter: Meter, name: string, description: string): Histogram =>
  meter.createHistogram(name, {
    description,
    unit: 's',
    advice: { explicitBucketBoundaries: BOUNDS },
  });

const nameOf = (realm: string | undefined): Record<string, string> =>
  realm === undefined ? {} : { 'session.name': realm };
