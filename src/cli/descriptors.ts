import { parseDescriptors } from '../http/inherited-sockets.ts'
import { UsageError } from './usage-error.ts'

/** Of a flag `--sockets`. @throws UsageError when it names none */
export function readDescriptors(text: string | undefined): number[] {
  try {
    return parseDescriptors(text)
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'cannot be read')
  }
}
