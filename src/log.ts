import pino from 'pino'
import type { Logger } from './plugin-api.ts'

export type LogSettings = {
  readonly level: 'debug' | 'info' | 'warning' | 'error'
  /** `stdout`, `stderr` or a file. */
  readonly destination: string
  readonly format: 'auto' | 'text' | 'json'
}

/** A log that can be closed, and whose file can be opened again after it was moved away. */
export interface Log extends Logger, Disposable {
  /** Puts fields on every line. */
  child(fields: Readonly<Record<string, unknown>>): Logger
  reopen(): void
}

/** The journal takes a line's level from its beginning (sd-daemon(3)), and keeps the rest as it is. */
export type LogReader = 'terminal' | 'journal' | 'program'

const journalLevels: Readonly<Record<string, number>> = { error: 3, warn: 4, info: 6, debug: 7 }

type Sink = { write(line: string): void }

/** Of what cannot be written, because the disk is full or nobody reads it; more is left out. */
const maxWaitingBytes = 16 * 1024 * 1024

/**
 * One JSON object a line, or text for people on a terminal. Either way a line is a line: control and direction
 * characters in what others sent are escaped.
 */
export function createLog(settings: LogSettings, reader: LogReader): Log {
  const isTerminal = reader === 'terminal'
  const text = settings.format === 'text' || (settings.format === 'auto' && isTerminal)
  const destination = destinationOf(settings.destination)
  // A terminal or a pipe may be slow, and no request waits for it; a file is quick, and is complete after a crash.
  const file = pino.destination({
    dest: destination,
    sync: typeof destination === 'string',
    maxLength: maxWaitingBytes,
  })
  // A log that cannot be written (its reader is gone, the disk is full) is no reason to stop serving.
  let isWritable = true
  file.on('error', () => {
    isWritable = false
  })
  file.on('write', () => {
    isWritable = true
  })
  // pino calls it when the process exits, and it tries for ever where nothing can be written.
  const flush = file.flushSync.bind(file)
  file.flushSync = () => {
    if (isWritable) flush()
  }
  let isOver = false
  const sink: Sink = {
    write(line) {
      if (!isOver) file.write(levelPrefix(line, reader) + (text ? formatLine(line, isTerminal) : escapeLine(line)))
    },
  }
  const logger = pino(
    {
      level: settings.level === 'warning' ? 'warn' : settings.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError, cause: describeError },
    },
    sink,
  )
  return {
    ...loggerOver(logger),
    child: (fields) => loggerOver(logger.child(fields)),
    reopen: () => {
      if (typeof destination === 'string') file.reopen()
    },
    [Symbol.dispose]() {
      if (isOver) return
      isOver = true
      // What waits is written before the process ends.
      file.end()
    },
  }
}

function levelPrefix(line: string, reader: LogReader): string {
  if (reader !== 'journal') return ''
  // pino begins each line so.
  return `<${journalLevels[/^\{"level":"(\w+)"/.exec(line)?.[1] ?? 'info'] ?? journalLevels.info}>`
}

function destinationOf(destination: string): string | number {
  if (destination === 'stdout') return 1
  return destination === 'stderr' ? 2 : destination
}

function loggerOver(logger: pino.Logger): Logger {
  return {
    debug: (message, fields) => logger.debug(fields ?? {}, message),
    info: (message, fields) => logger.info(fields ?? {}, message),
    warn: (message, fields) => logger.warn(fields ?? {}, message),
    error: (message, fields) => logger.error(fields ?? {}, message),
  }
}

/** What went wrong and why, down to the first cause; the stack only where nobody foresaw it. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {}
  const foreseen = error.name !== 'TypeError' && error.name !== 'ReferenceError' && error.name !== 'RangeError'
  const stack = foreseen ? {} : { stack: error.stack }
  return {
    message: error.message,
    ...code,
    ...stack,
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
  }
}

// JSON escapes what is below space; DEL, C1 and the characters that turn text around are left to us.
const unsafe = /[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

function escapeLine(line: string): string {
  return unsafe.test(line) ? line.replace(unsafe, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : line
}

const colours: Readonly<Record<string, number>> = { error: 31, warn: 33, info: 32, debug: 90 }

function formatLine(json: string, colour: boolean): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as {
    level: string
    time: string
    msg: string
    [key: string]: unknown
  }
  const word = level.toUpperCase().padEnd(5)
  const shown = colour ? `\x1b[${colours[level] ?? 0}m${word}\x1b[0m` : word
  const details = Object.entries(fields).map(
    ([key, value]) => `${key}=${typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)}`,
  )
  return `${escapeLine([time.slice(0, 19).replace('T', ' '), shown, msg, ...details].join(' '))}\n`
}
