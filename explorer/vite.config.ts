import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// Names without hashes: the program that serves the page has one version of it.
export default defineConfig({
  plugins: [svelte()],
  base: "./",
  build: {
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: { entryFileNames: "assets/app.js", assetFileNames: "assets/app[extname]", inlineDynamicImports: true },
    },
  },
  // `npm run dev` beside a running security-agent: VITE_EXPLORER=http://127.0.0.1:5012
  server: { proxy: { "/api": { target: process.env.VITE_EXPLORER ?? "http://127.0.0.1:5012", changeOrigin: true } } },
});
