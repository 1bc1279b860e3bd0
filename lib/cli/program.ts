import { Command, CommanderError } from 'commander';
import { register as registerBackup } from './backup.command.js';
import { register as registerBench } from './bench.command.js';
import { EXIT, type CliIo } from './cli-io.js';
import { register as registerDoctor } from './doctor.command.js';
import { register as registerList } from './list.command.js';
import { colorsFor } from './print.js';
import { register as registerRestore } from './restore.command.js';
import { register as registerRevoke } from './revoke.command.js';
import { createShared, type ExitCode } from './shared.js';
import { register as registerShow } from './show.command.js';
import { register as registerStats } from './stats.command.js';
import { register as registerSweep } from './sweep.command.js';

const COMMANDS = [
  registerStats,
  registerList,
  registerShow,
  registerRevoke,
  registerSweep,
  registerDoctor,
  registerBackup,
  registerRestore,
  registerBench,
];

const EXITS = `
Exit codes: 0 all is well, 1 something was found or failed, 2 not understood, 3 not confirmed by replicas.
Logins go into REDIS_URL, or REDIS_USERNAME and REDIS_PASSWORD; others see what is on a command line.`;

/** Carries out a command line, without the program's own name, and tells the exit code. */
export async function runProgram(args: readonly string[], io: CliIo): Promise<number> {
  const exit: ExitCode = { value: EXIT.fine };
  const program = new Command('nestjs-distributed-session')
    .description('Looks after the sessions of nestjs-distributed-session in Redis.')
    .addHelpText('after', EXITS)
    .showHelpAfterError('(--help tells what there is)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      getOutHasColors: () => colorsFor(io.stdout, io.env).isColorSupported,
      getErrHasColors: () => colorsFor(io.stderr, io.env).isColorSupported,
    });
  const shared = createShared(io, exit);
  for (const register of COMMANDS) register(program, shared);
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? EXIT.fine : EXIT.usage;
  }
  return exit.value;
}
