// VitePress's own theme in the console's colours, with the system's fonts, and the version beside the name.
import { h, onMounted } from "vue";
import { useData } from "vitepress";
import theme from "vitepress/theme-without-fonts";
import "./style.css";

export default {
  extends: theme,
  Layout: {
    setup() {
      const { version } = useData().theme.value;
      onMounted(() => document.querySelector(".VPSidebarItem.is-active > .item")?.scrollIntoView({ block: "center" })); // the list of pages is long
      return () => h(theme.Layout, null, { "nav-bar-title-after": () => h("span", { class: "version", title: version }, version) });
    },
  },
};
