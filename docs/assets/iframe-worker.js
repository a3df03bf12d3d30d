// Search without a server: a page read from the disk (file:) may not start a Worker, so the search's script runs in
// a hidden frame instead, with a Worker's way of talking. The search looks for the name IFrameWorker.
if (window.location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.onmessage = null
      this.waiting = []

      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)

      const inside = this.frame.contentWindow
      inside.postMessage = (data) => this.told(data)
      inside.importScripts = (...urls) => Promise.all(urls.map((each) => this.load(each)))
      this.load(url).then(() => {
        this.waiting.splice(0).forEach((data) => this.tell(data))
        this.waiting = null
      })
    }

    load(url) {
      return new Promise((done, failed) => {
        const script = this.frame.contentDocument.createElement("script")
        script.src = new URL(url, document.baseURI).href
        script.onload = done
        script.onerror = () => failed(new Error(`cannot load ${url}`))
        this.frame.contentDocument.body.appendChild(script)
      })
    }

    postMessage(data) {
      this.waiting ? this.waiting.push(data) : this.tell(data)
    }

    tell(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
    }

    told(data) {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      this.onmessage?.(event)
    }

    terminate() {
      this.frame.remove()
    }
  }
  window.Worker = window.IFrameWorker
}
