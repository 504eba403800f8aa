"use strict";
for (const player of document.querySelectorAll(".player")) {
  const button = player.querySelector("button");
  const scrub = player.querySelector("input");
  const output = player.querySelector("output");
  const length = Number(player.dataset.length);
  const pause = 1000 / Number(player.dataset.fps);
  const sheets = [...player.querySelectorAll(".sheet")];
  const panels = [...player.querySelectorAll("canvas")].map((canvas, i) => ({
    canvas,
    sheet: sheets[i],
    length: Number(canvas.dataset.length),
    columns: Number(canvas.dataset.columns),
    marked: new Set(canvas.dataset.marked ? canvas.dataset.marked.split(",").map(Number) : []),
  }));
  let timer = null;

  const draw = () => {
    const frame = Number(scrub.value);
    for (const { canvas, sheet, length, columns, marked } of panels) {
      const i = Math.min(frame, length - 1);
      const { width, height } = canvas;
      canvas.getContext("2d").drawImage(
        sheet, (i % columns) * width, Math.floor(i / columns) * height, width, height, 0, 0, width, height);
      canvas.classList.toggle("marked", marked.has(i));
    }
    output.textContent = `${frame + 1} / ${length}`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶";
    button.setAttribute("aria-label", "play");
  };
  const play = () => {
    button.textContent = "❚❚";
    button.setAttribute("aria-label", "pause");
    timer = setInterval(() => {
      scrub.value = (Number(scrub.value) + 1) % length;
      draw();
    }, pause);
  };
  button.addEventListener("click", () => (timer === null ? play() : stop()));
  scrub.addEventListener("input", () => { stop(); draw(); });
  Promise.all(sheets.map((sheet) => sheet.decode())).then(draw, draw);
}
