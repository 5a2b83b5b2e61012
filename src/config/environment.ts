import { defaultStateFolder, trustedCaFiles } from './paths.ts'

/** The one place that reads the process's environment. */
export const environment: Readonly<Record<string, string | undefined>> = process.env

/** What the platform, not the configuration, decides. */
export function platformSettings(): { stateFolder: string; trustedCaFiles: string[] } {
  return {
    stateFolder: defaultStateFolder(environment, process.getuid?.() === 0),
    trustedCaFiles: trustedCaFiles(environment),
  }
}
