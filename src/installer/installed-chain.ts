import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { removeLeftovers, writeDurably } from '../durable-file.ts'
import { errorCode } from '../error-code.ts'
import { readMemory } from '../managed/memory.ts'
import { type Chain, parseChain } from '../x509/chain.ts'

const current = 'chain.pem'
const next = 'next.chain.pem'

/** Before what it is for is noted as installed: a hook that is due finds it, whenever we were killed. */
export async function keepNextChain(folder: string, { pem }: Chain): Promise<void> {
  // We were killed before it had its name, and its hook may be due.
  const { current: installed } = await readMemory(folder)
  const former = await readKept(join(folder, next))
  if (former !== undefined && former.leaf.serial === installed?.serial) await settleNextChain(folder)
  await writeDurably(join(folder, next), pem)
}

/** What was kept is the one that is installed now. */
export async function settleNextChain(folder: string): Promise<void> {
  await rename(join(folder, next), join(folder, current))
}

/** The chain of what is noted as installed; undefined: it was installed by others than us. */
export async function readInstalledChain(folder: string): Promise<Chain | undefined> {
  const { current: installed } = await readMemory(folder)
  for (const name of [next, current]) {
    const chain = await readKept(join(folder, name))
    if (chain !== undefined && chain.leaf.serial === installed?.serial) return chain
  }
  return undefined
}

export async function tidyChains(folder: string): Promise<void> {
  for (const name of [next, current]) await removeLeftovers(folder, name)
}

async function readKept(path: string): Promise<Chain | undefined> {
  const pem = await readFile(path, 'latin1').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  })
  try {
    return pem === undefined ? undefined : parseChain(pem)
  } catch {
    return undefined
  }
}
