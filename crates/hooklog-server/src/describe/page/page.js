const find = document.getElementById('find');
find.hidden = false;
find.addEventListener('input', () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const route of document.querySelectorAll('.route')) {
    const text = route.firstElementChild.textContent.toLowerCase();
    route.hidden = !words.every((word) => text.includes(word));
  }
});
const open = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === 'DETAILS') target.open = true;
};
addEventListener('hashchange', open);
open();
