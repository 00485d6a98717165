import { join } from 'node:path'
import pdfmake from 'pdfmake'
import { expect, test } from 'vitest'
import { linesNode, span } from '../../reports/pdf-style.js'
import { speedUpPlainRuns } from '../../reports/plain-layout.js'
import { openTypefaces } from '../../reports/typeface.js'
import { typeset } from '../../reports/typeset.js'

test('the short way gives the bytes that the long way gives', async () => {
  const typefaces = openTypefaces([])
  const [face] = typefaces.faces
  if (!face) throw new Error('there is no font')
  const texts = [
    '{"amount":12.5,"office":"AVATAR To fi ffl 1/2 -> \\"x\\""}',
    'Ünïcödé ΑΩ ЖЯ é ﬁ … “quoted” 10 €',
    'שלום عليكم 123',
    ...Array.from(
      { length: 95 },
      (_, index) => `${String.fromCharCode(32 + index)}A${String.fromCharCode(32 + index)}V`,
    ),
  ]
  const styles = ['text', 'bold', 'mono'] as const
  const content = () =>
    texts.flatMap((text) => styles.map((style) => linesNode(typeset([span(text, style, 8)], 300, typefaces))))
  const make = () => {
    pdfmake.setUrlAccessPolicy(() => false)
    pdfmake.setLocalAccessPolicy((path) => path.startsWith(join(face.path, '..')))
    pdfmake.setFonts(Object.fromEntries(typefaces.faces.map(({ family, path }) => [family, { normal: path }])))
    const info = { creationDate: new Date(0) }
    return pdfmake.createPdf({ content: content(), defaultStyle: { font: 'text' }, info }).getBuffer()
  }
  const long = await make()
  const undo = speedUpPlainRuns(face.path)
  const short = await make()
  undo()
  expect(short.equals(long)).toBe(true)
})
