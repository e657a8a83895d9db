// VitePress's own theme in the console's colours, with the system's fonts, and the version beside the name.
import { h, nextTick, onMounted } from "vue";
import { useData } from "vitepress";
import theme from "vitepress/theme-without-fonts";
import "./style.css";

export default {
  extends: theme,
  Layout: {
    setup() {
      const { version } = useData().theme.value;
      onMounted(async () => { // the list of pages is long: show where in it one is
        await nextTick();
        document.querySelector(".VPSidebarItem.is-active > .item")?.scrollIntoView({ block: "nearest" });
      });
      return () => h(theme.Layout, null, { "nav-bar-title-after": () => h("span", { class: "version", title: version }, version) });
    },
  },
};
