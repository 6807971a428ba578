/** What the components for files say, in English and Chinese. */

export const FILE_TEXTS = {
  attach: ["Attach files", "添加文件"],
  uploads: ["Uploads", "正在上传的文件"],
  progressOf: ["Upload of {name}", "{name} 的上传进度"],
  uploadWaiting: ["Interrupted, trying again…", "连接中断，正在重试…"],
  uploadPaused: ["Paused", "已暂停"],
  uploadFailed: ["Not uploaded", "上传失败"],
  uploadTooLarge: ["The file is too large", "文件太大"],
  uploadNoRoom: ["No room for the file", "存储空间不足"],
  uploadTooMany: ["Too many uploads at a time", "同时上传的文件太多"],
  uploadName: ["The name or type of the file is not allowed", "文件名或类型不被允许"],
  pause: ["Pause", "暂停"],
  resume: ["Continue", "继续"],
  cancelUpload: ["Cancel the upload of {name}", "取消上传 {name}"],
  retryUpload: ["Try again", "重试"],
  download: ["Download {name}", "下载 {name}"],
  fileGone: ["The file is not available any more", "文件已不可用"],
};
