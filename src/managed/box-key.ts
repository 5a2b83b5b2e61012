import type { KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { ProblemError } from '../acme/problem.ts'
import type { BoxSource } from '../plugin-api.ts'
import { parsePrivateKey } from '../x509/private-key.ts'

/**
 * The private key that boxes for this machine are sealed to.
 * @param file undefined: it is the one that requests are signed with
 * @throws ProblemError saying what to do
 */
export async function openBoxKey(
  source: Pick<BoxSource, 'recipientKey'>,
  file: string | undefined,
): Promise<KeyObject> {
  const key = file === undefined ? await source.recipientKey() : await readKey(file)
  const type = key.asymmetricKeyType ?? 'unknown'
  if (type === 'rsa' || type === 'ec') return key
  throw new ProblemError(
    'userActionRequired',
    `nothing can be sealed to the key that requests are signed with (${type}): name another one (box-key), which acmems agent register makes`,
  )
}

async function readKey(file: string): Promise<KeyObject> {
  const content = await readFile(file).catch((cause: unknown) => {
    throw new ProblemError('userActionRequired', `${file}: the key of the box cannot be read (box-key)`, { cause })
  })
  try {
    return parsePrivateKey(content)
  } catch (cause) {
    throw new ProblemError('userActionRequired', `${file}: ${cause instanceof Error ? cause.message : ''}`, { cause })
  } finally {
    content.fill(0)
  }
}
