/** What is impure: handed to every plugin by `plugin-api.ts`, never imported. */

export interface Clock {
  /** The machine's idea of the time; it may be wrong, and jump. */
  nowMs(): number
  /** Goes forward evenly, from anywhere; never jumps. */
  monotonicMs(): number
  /** Rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export type LogFields = Readonly<Record<string, unknown>>

/** Messages are constant, details are fields; secrets are neither. */
export interface Logger {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

export type HttpRequest = {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'PATCH'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
  readonly maxBytes: number
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

export type HttpReply = {
  readonly status: number
  /** Lower-case names. A header can come more than once. */
  readonly headers: ReadonlyMap<string, readonly string[]>
  readonly body: Uint8Array
}

/** Connections are kept and pooled, answers bounded in octets and time; no redirect is followed. */
export interface HttpClient {
  /** @throws Error when the peer cannot be reached, is too slow or sends too much */
  request(url: string, request: HttpRequest): Promise<HttpReply>
}

/** Everything impure that a plugin may touch. Handed in, never imported. */
export interface PluginContext {
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly log: Logger
  readonly http: HttpClient
  randomBytes(length: number): Uint8Array
}
