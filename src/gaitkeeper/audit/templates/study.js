"use strict";
const video = document.querySelector("video");
const play = document.getElementById("play");
const message = document.getElementById("status");
const rate = document.getElementById("rate");
const scale = rate.querySelector("fieldset");
let sending = false;

const failed = () => {
  message.textContent = "";
  play.disabled = true;
  document.getElementById("unplayable").hidden = false;
};
play.addEventListener("click", () => {
  video.currentTime = 0;
  play.disabled = true;
  video.play().catch((error) => (error.name === "NotAllowedError" ? (play.disabled = false) : failed()));
});
video.addEventListener("error", failed);
// It may have failed before this script was there to hear of it.
if (video.error) failed();
video.addEventListener("ended", () => {
  play.disabled = false;
  play.textContent = "Play again";
  play.classList.remove("main");
  if (scale.disabled) message.textContent = "Rate the clip: press 1 to 5 or choose below.";
  scale.disabled = false;
  if (document.activeElement === document.body) play.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !/^[1-5]$/.test(event.key)) return;
  const button = scale.querySelector(`button[value="${event.key}"]`);
  if (!scale.disabled) button.click();
});
rate.addEventListener("submit", (event) => {
  if (sending) event.preventDefault();
  sending = true;
});
addEventListener("pageshow", () => (sending = false));
