/** An answer that is not sent yet, and what the log says about it. */
export type ApiAnswer = {
  readonly status: number
  /** undefined: no body. */
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly log: Readonly<Record<string, unknown>>
}

/** `error` is a word of acme-dns' where it has one; `detail` is for the person who reads the client's output. */
export function refuse(status: number, error: string, detail: string, log: ApiAnswer['log'] = {}): ApiAnswer {
  const headers = status === 401 ? { 'www-authenticate': 'Basic realm="acmems"' } : {}
  return { status, body: { error, detail }, headers, log: { outcome: 'refused', reason: detail, ...log } }
}
