import * as echarts from 'echarts';
import { CONTENDERS } from '../contenders/index.js';
import type { Results } from '../results.js';
import type { Row, Scenario } from '../scenario.js';
import { find } from './find.js';

/** Readable on white and on black paper alike. */
const INK = '#7a828e';
const OURS = '#e0234e';
const PEER = '#8aa4c8';
const LIMIT = '#b9c0ca';

const colorOf = (row: Row): string =>
  row.contender === 'ours' || row.contender === 'near'
    ? OURS
    : CONTENDERS[row.contender].home === 'none'
      ? LIMIT
      : PEER;

/** File name → SVG. */
export function chartsOf(results: Results): Record<string, string> {
  const charts: Record<string, string> = {
    'payload.svg': payload(results),
    'growth.svg': growth(results),
  };
  for (const [adapter, name] of [
    ['express', 'Express'],
    ['fastify', 'Fastify'],
  ] as const) {
    const read = find(results, adapter, 'read');
    charts[`read-${adapter}.svg`] = bars(
      `Processor time of an authenticated read above no session: ${name}, 1 KB, 64 connections`,
      'µs a request; less is better',
      read,
      (row) => row.cpuAbove.median,
    );
    charts[`throughput-${adapter}.svg`] = bars(
      `Requests per second relative to no session: ${name}, 1 KB, 64 connections`,
      'more is better',
      read,
      (row) => row.relative.median,
      2,
    );
  }
  return charts;
}

function bars(
  title: string,
  unit: string,
  { rows }: Scenario,
  figure: (row: Row) => number,
  digits = 0,
): string {
  const sorted = rows
    .filter((row) => row.contender !== 'ceiling')
    .toSorted((a, b) => figure(a) - figure(b));
  const shown = digits ? sorted : sorted.toReversed();
  return render(70 + 34 * shown.length, {
    title: { text: title, textStyle: { color: INK, fontSize: 13 }, left: 4 },
    grid: { left: 8, right: 60, top: 34, bottom: 34, containLabel: true },
    xAxis: {
      type: 'value',
      min: 0,
      name: unit,
      nameLocation: 'middle',
      nameGap: 24,
      nameTextStyle: { color: INK },
      axisLabel: { color: INK },
      splitLine: { lineStyle: { color: INK, opacity: 0.25 } },
    },
    yAxis: {
      type: 'category',
      data: shown.map((row) => CONTENDERS[row.contender].title),
      axisLabel: { color: INK },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: INK } },
    },
    series: [
      {
        type: 'bar',
        data: shown.map((row) => ({
          value: Number(Math.max(0, figure(row)).toFixed(digits)),
          itemStyle: { color: colorOf(row) },
        })),
        label: { show: true, position: 'right', color: INK },
      },
    ],
  });
}

function payload(results: Results): string {
  const sizes = [100, 1_024, 10_240];
  const names = ['ours', 'express-session', 'better-auth'] as const;
  const at = (bytes: number, name: string) =>
    find(results, 'express', 'read', bytes).rows.find((row) => row.contender === name);
  return lines(
    'Processor time of a read above no session, by size of the session: Express',
    'bytes of data',
    'µs a request',
    names.map((name) => ({
      name: CONTENDERS[name].title,
      color: name === 'ours' ? OURS : name === 'express-session' ? PEER : INK,
      points: sizes.map((bytes): [number, number] => [
        bytes,
        Math.round(at(bytes, name)?.cpuAbove.median ?? Number.NaN),
      ]),
    })),
  );
}

function growth(results: Results): string {
  return lines(
    'Reads per second by number of stored sessions: Express, 1 KB, 64 connections',
    'sessions in Redis',
    'requests a second',
    [
      {
        name: CONTENDERS.ours.title,
        color: OURS,
        points: results.growth.map(({ stored, requestsPerSecond }): [number, number] => [
          stored,
          Math.round(requestsPerSecond.median),
        ]),
      },
    ],
  );
}

interface Line {
  readonly name: string;
  readonly color: string;
  readonly points: readonly [number, number][];
}

function lines(title: string, across: string, up: string, all: readonly Line[]): string {
  const axis = { nameTextStyle: { color: INK }, axisLabel: { color: INK } };
  const grid = { lineStyle: { color: INK, opacity: 0.25 } };
  return render(300, {
    title: { text: title, textStyle: { color: INK, fontSize: 13 }, left: 4 },
    legend: { show: all.length > 1, top: 28, left: 0, textStyle: { color: INK } },
    grid: { left: 16, right: 50, top: 88, bottom: 40, containLabel: true },
    xAxis: {
      type: 'log',
      min: 'dataMin',
      max: 'dataMax',
      name: across,
      nameLocation: 'middle',
      nameGap: 26,
      splitLine: { show: false },
      ...axis,
    },
    yAxis: { type: 'value', min: 0, name: up, splitLine: grid, ...axis },
    series: all.map(({ name, color, points }) => ({
      type: 'line' as const,
      name,
      data: points.map((point) => [...point]),
      itemStyle: { color },
      lineStyle: { color, width: 2 },
      label: { show: true, color: INK },
    })),
  });
}

const WIDTH = 760;

function render(height: number, option: echarts.EChartsOption): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  chart.setOption({ animation: false, textStyle: { fontFamily: 'sans-serif' }, ...option });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return withoutNumbers(svg);
}

/** The library numbers its elements through a process: the same picture must be the same text. */
function withoutNumbers(svg: string): string {
  const known = new Map<string, string>();
  return `${svg.replace(/\bzr\d+-(\w+)/g, (name) => {
    if (!known.has(name)) known.set(name, `c${known.size}`);
    return known.get(name) as string;
  })}\n`;
}
