/** A hook's own variables, by name. */
export type Variables = ReadonlyMap<string, string>

/** `NAME=VALUE`, one a line; a file of them may have blank lines, comments, quotes and `export`, like systemd's. */
export function parseVariables(text: string): Variables {
  const lines = text.split('\n').map((line) => line.trim())
  return new Map(lines.filter((line) => line !== '' && !line.startsWith('#')).map(parseVariable))
}

function parseVariable(line: string): [string, string] {
  const match = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(line)
  // Not what was written: it may be a secret.
  if (match === null) throw new Error('a line is not of the form NAME=VALUE')
  const [, name = '', value = ''] = match
  const quoted = /^(["'])(.*)\1$/s.exec(value)
  return [name, quoted?.[2] ?? value]
}
