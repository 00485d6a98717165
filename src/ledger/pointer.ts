/** The JSON pointer (RFC 6901) of a member or an item below `base`. */
export function pointerTo(base: string, step: string | number): string {
  return typeof step === 'number' ? `${base}/${step}` : `${base}/${step.replaceAll('~', '~0').replaceAll('/', '~1')}`
}
