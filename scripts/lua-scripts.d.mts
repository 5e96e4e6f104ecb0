/** What is wrong with a script; empty when nothing is. */
export function problemsOf(file: string, text: string): readonly string[];
export function compileScripts(): void;
