// Dark or light: as the system has it, unless somebody chose.

const KEY = "atalaya-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const chosen = localStorage.getItem(KEY);

export const theme = $state({ name: chosen ?? (dark.matches ? "dark" : "light") });

function apply(): void {
  document.documentElement.dataset["theme"] = theme.name;
}
apply();

dark.addEventListener("change", () => {
  if (localStorage.getItem(KEY)) return;
  theme.name = dark.matches ? "dark" : "light";
  apply();
});

export function toggle(): void {
  theme.name = theme.name === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, theme.name);
  apply();
}
