import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
  type MetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { openTelemetry } from 'nestjs-distributed-session/telemetry';

/** What was collected: `name{a=b,…}` → value, of histograms the count. */
export type Collected = Record<string, number>;

/** OpenTelemetry's SDK, which keeps what it gets in memory. */
export class Collector {
  readonly #exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  readonly #reader = new PeriodicExportingMetricReader({
    exporter: this.#exporter,
    exportIntervalMillis: 3_600_000,
  });
  readonly metrics: MeterProvider;
  readonly #spans = new InMemorySpanExporter();
  readonly #tracers = new BasicTracerProvider({
    spanProcessors: [new SimpleSpanProcessor(this.#spans)],
  });

  constructor(...readers: MetricReader[]) {
    this.metrics = new MeterProvider({ readers: [this.#reader, ...readers] });
  }

  get observer() {
    return openTelemetry({
      meter: this.metrics.getMeter('shop'),
      tracer: this.#tracers.getTracer('shop'),
    });
  }

  get spans() {
    return this.#spans.getFinishedSpans();
  }

  async collect(): Promise<Collected> {
    this.#exporter.reset();
    await this.#reader.forceFlush();
    const scopes = this.#exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics);
    const found: Collected = {};
    for (const { descriptor, dataPoints } of scopes.flatMap(({ metrics }) => metrics)) {
      for (const { attributes, value } of dataPoints) {
        const named = Object.entries(attributes).map(([name, one]) => `${name}=${String(one)}`);
        const labels = named.length > 0 ? `{${named.toSorted().join(',')}}` : '';
        found[descriptor.name + labels] =
          typeof value === 'number' ? value : (value as { count: number }).count;
      }
    }
    return found;
  }

  async stop(): Promise<void> {
    await this.metrics.shutdown();
    await this.#tracers.shutdown();
  }
}

/** All of a metric, whatever its labels; or of those with a label. */
export const sum = (collected: Collected, name: string, label = ''): number =>
  Object.entries(collected)
    .filter(([key]) => key.startsWith(`${name}{`) && key.includes(label))
    .reduce((all, [, value]) => all + value, 0);
